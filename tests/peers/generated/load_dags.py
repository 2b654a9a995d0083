"""Loads generated DAGs with Airflow's own parser: load_dags.py FOLDER."""

import os
import sys
import tempfile

with tempfile.TemporaryDirectory() as home:
    os.environ |= {"AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW__CORE__UNIT_TEST_MODE": "False"}
    sys.path.insert(0, sys.argv[1])
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:
        from airflow.models.dagbag import DagBag

    bag = DagBag(dag_folder=sys.argv[1])
    assert not bag.import_errors, bag.import_errors
    assert bag.dags, "there are no DAGs"
    for dag in bag.dags.values():
        assert dag.max_active_runs == 1, dag.dag_id
        assert [task.task_id for task in dag.tasks] == ["execute"], dag.dag_id
        print(dag.dag_id, type(dag.timetable).__name__)

    import qetl_dags

    params = {"batch_id": None, "input": [], "execution_date": None, "full_refresh": False, "accept_guards": False}
    assert qetl_dags.command_of("orders", params) == ["qetl", "execute", "orders", "--wait", "3600"]
    params |= {"batch_id": 7, "input": ["late/a.csv", "late/b.csv"], "accept_guards": True}
    expected = ["--batch-id", "7", "--input", "late/a.csv", "--input", "late/b.csv", "--accept-guards"]
    assert qetl_dags.command_of("orders", params) == ["qetl", "execute", "orders", "--wait", "3600", *expected]

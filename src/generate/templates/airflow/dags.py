"""DAGs that execute qetl's flows, one each.

Made by `qetl generate --target airflow` from {{ flows | map(attribute="file") | join(", ") }}; do not edit.

For Airflow 3. The worker needs `qetl` on its path, and the environment: QETL_PROJECT, the project's folder (else it is looked
for from the current folder upward); QETL_PROFILE, the profile of qetl.toml; QETL_SCHEDULE, when flows look for new batches.

A run executes all batches that wait. To execute one, trigger the DAG with `batch_id`, and `input` when its files are elsewhere.
A flow that reads datasets of others runs when one of them has published.
"""

from __future__ import annotations

import os
import subprocess
from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG, Asset, Param, task

try:
    from airflow.sdk.exceptions import AirflowFailException
except ImportError:  # before Airflow 3.1
    from airflow.exceptions import AirflowFailException

SCHEDULE = os.environ.get("QETL_SCHEDULE", "@daily")

PARAMS = {
    "batch_id": Param(None, type=["null", "integer"], minimum=1, description="The batch to execute; all that wait without it"),
    "input": Param([], type="array", items={"type": "string"}, description="Files of that batch"),
    "execution_date": Param(None, type=["null", "string"], description="The execution time to record, ISO 8601; now without it"),
    "full_refresh": Param(False, type="boolean", description="Derive everything again from what was landed"),
    "accept_guards": Param(False, type="boolean", description="Let the batch through its guards"),
}

# Wrong usage or flows, and data that was refused: another attempt ends the same way.
FINAL = {2, 3}


def command_of(flow: str, params: dict) -> list[str]:
    """What is executed for a run's parameters."""
    command = ["qetl", "execute", flow, "--wait", "3600"]
    for option, value in [
        ("--project", os.environ.get("QETL_PROJECT")),
        ("--profile", os.environ.get("QETL_PROFILE")),
        ("--batch-id", params["batch_id"]),
        ("--execution-date", params["execution_date"]),
        *[("--input", path) for path in params["input"]],
    ]:
        if value is not None:
            command += [option, str(value)]
    command += [f"--{name.replace('_', '-')}" for name in ["full_refresh", "accept_guards"] if params[name]]
    return command


@task(retries=2, retry_delay=timedelta(minutes=5))
def execute(flow: str, params: dict | None = None) -> None:
    command = command_of(flow, params or {})
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in process.stdout:
        print(line, end="")
    code = process.wait()
    if code in FINAL:
        raise AirflowFailException(f"`qetl execute {flow}` ended with exit code {code}")
    if code != 0:
        raise RuntimeError(f"`qetl execute {flow}` ended with exit code {code}")
{% for flow in flows %}


# {{ flow.file }}
with DAG(
    dag_id="qetl_{{ flow.id }}",
    description={{ flow.about | string }},
    schedule={% if flow.reads %}{% for maker in flow.reads %}Asset("qetl_{{ maker }}"){% if not loop.last %} | {% endif %}{% endfor %}{% else %}SCHEDULE{% endif %},
    start_date=datetime(2024, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    tags=["qetl", "{{ flow.flow_type }}"],
):
    execute.override(outlets=[Asset("qetl_{{ flow.id }}")])("{{ flow.id }}")
{% endfor %}

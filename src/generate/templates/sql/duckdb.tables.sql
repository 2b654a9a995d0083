{{ part("sql/head", flow) -}}
--
-- Makes the flow's tables, and leaves alone those that are there:
--
--   duckdb shop.duckdb -f {{ flow.id }}/tables.sql
--
-- Rows of a batch come into {{ flow.landing.name }}, here those of batch 2; before it is landed again, its rows are deleted there:
--
--   INSERT INTO {{ flow.landing.name }} BY NAME
--     SELECT {{ flow.landing.columns | map(attribute="name") | join(", ") }}, 2 AS xt_batch_id, now() AS xt_loaded_at, 'batch_2.csv' AS xt_source_file, ROW_NUMBER() OVER () AS xt_row_number
--     FROM READ_CSV('batch_2.csv', header = true, all_varchar = true, allow_quoted_nulls = false);
--
-- Then batch.sql derives it.
BEGIN;

CREATE TABLE IF NOT EXISTS {{ flow.batches }} (
  flow VARCHAR,
  batch_id BIGINT CHECK (batch_id >= 1),
  processed_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (flow, batch_id)
);
{% if flow.schema %}

CREATE SCHEMA IF NOT EXISTS {{ flow.schema }};
{% endif %}
{% for table in flow.tables %}

-- {{ table.about | comment }}
{% for statement in table.statements %}
{{ statement }};
{% endfor %}
{% endfor %}

-- the files of each batch, in the order of their names
CREATE OR REPLACE VIEW {{ flow.files }} AS
SELECT
  {{ flow.id | literal }} AS flow,
  xt_batch_id AS batch_id,
  ROW_NUMBER() OVER (PARTITION BY xt_batch_id ORDER BY xt_source_file) - 1 AS position,
  xt_source_file AS path
FROM
  (SELECT DISTINCT xt_batch_id, xt_source_file FROM {{ flow.landing.name }}) AS landed;
{% for view in flow.views %}

-- {{ view.about | comment }}
{% for statement in view.statements %}
{{ statement }};
{% endfor %}
{% endfor %}

COMMIT;

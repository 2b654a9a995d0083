{{ part("sql/head", flow) -}}
--
-- Makes the flow's tables, and leaves alone those that are there:
--
--   psql -f {{ flow.id }}/tables.sql DATABASE
--
-- Rows of a batch come into {{ flow.landing.name }}, here those of batch 2; before it is landed again, its rows are deleted there:
--
--   CREATE TEMPORARY TABLE incoming AS SELECT {{ flow.landing.columns | map(attribute="name") | join(", ") }} FROM {{ flow.landing.name }} WITH NO DATA;
--   ALTER TABLE incoming ADD xt_row_number BIGSERIAL;
--   \copy incoming ({{ flow.landing.columns | map(attribute="name") | join(", ") }}) FROM 'batch_2.csv' (FORMAT csv, HEADER)
--   INSERT INTO {{ flow.landing.name }} ({{ flow.landing.columns | map(attribute="name") | join(", ") }}, xt_batch_id, xt_loaded_at, xt_source_file, xt_row_number)
--     SELECT {{ flow.landing.columns | map(attribute="name") | join(", ") }}, 2, now(), 'batch_2.csv', xt_row_number FROM incoming;
--
-- Then batch.sql derives it.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
BEGIN;

CREATE TABLE IF NOT EXISTS {{ flow.batches }} (
  flow TEXT,
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
{% for index in flow.indexes %}

{{ index.if_missing }};
{% endfor %}

-- the files of each batch, in the order of their names
CREATE OR REPLACE VIEW {{ flow.files }} AS
SELECT
  CAST({{ flow.id | literal }} AS TEXT) AS flow,
  xt_batch_id AS batch_id,
  ROW_NUMBER() OVER (PARTITION BY xt_batch_id ORDER BY xt_source_file COLLATE "C") - 1 AS position,
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

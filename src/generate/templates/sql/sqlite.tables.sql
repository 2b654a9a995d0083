{{ part("sql/head", flow) -}}
--
-- Makes the flow's tables, and leaves alone those that are there:
--
--   sqlite3 -bail shop.sqlite ".read {{ flow.id }}/tables.sql"
--
-- Dates are texts as 2024-01-31, times as 2024-01-31T10:00:00.000000Z, decimals texts with all the digits of their scale, booleans 0 and 1.
-- Rows of a batch come into {{ flow.landing.name }}, here those of batch 2; before it is landed again, its rows are deleted there:
--
--   CREATE TEMPORARY TABLE incoming ({% for column in flow.landing.columns %}{{ column.name }} TEXT{% if not loop.last %}, {% endif %}{% endfor %});
--   .import --csv --skip 1 batch_2.csv incoming
--   INSERT INTO {{ flow.landing.name }} ({{ flow.landing.columns | map(attribute="name") | join(", ") }}, xt_batch_id, xt_loaded_at, xt_source_file, xt_row_number)
--     SELECT {% for column in flow.landing.columns %}{{ part("sql/sqlite/read", column) }}{% if not loop.last %}, {% endif %}{% endfor %}, 2, STRFTIME('%Y-%m-%dT%H:%M:%f000Z', 'now'), 'batch_2.csv', rowid FROM incoming;
--
-- Then batch.sql derives it.
.bail on
BEGIN IMMEDIATE;

CREATE TABLE IF NOT EXISTS {{ flow.batches }} (
  flow TEXT,
  batch_id INTEGER CHECK (batch_id >= 1),
  processed_at TEXT NOT NULL,
  PRIMARY KEY (flow, batch_id)
);
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
DROP VIEW IF EXISTS {{ flow.files }};
CREATE VIEW {{ flow.files }} AS
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

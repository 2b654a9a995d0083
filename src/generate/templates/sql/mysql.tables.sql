{{ part("sql/head", flow) -}}
--
-- Makes the flow's tables, and leaves alone those that are there:
--
--   mysql DATABASE < {{ flow.id }}/tables.sql
--
-- Rows of a batch come into {{ flow.landing.name }}, here those of batch 2; before it is landed again, its rows are deleted there:
--
--   SET @xt_row = 0;
--   LOAD DATA LOCAL INFILE 'batch_2.csv' INTO TABLE {{ flow.landing.name }} CHARACTER SET utf8mb4
--     FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '"' ESCAPED BY '' IGNORE 1 LINES
--     ({% for column in flow.landing.columns %}@c{{ loop.index }}{% if not loop.last %}, {% endif %}{% endfor %})
--     SET {% for column in flow.landing.columns %}{{ column.name }} = {% if column.is_boolean %}NULLIF(@c{{ loop.index }}, '') = 'true'{% else %}NULLIF(@c{{ loop.index }}, ''){% endif %}, {% endfor %}
--       xt_batch_id = 2, xt_loaded_at = UTC_TIMESTAMP(6), xt_source_file = 'batch_2.csv', xt_row_number = (@xt_row := @xt_row + 1);
--
-- Then batch.sql derives it.
{% for statement in flow.session %}
{{ statement }};
{% endfor %}

CREATE TABLE IF NOT EXISTS {{ flow.batches }} (
  flow VARCHAR(63) CHARACTER SET ascii COLLATE ascii_bin,
  batch_id BIGINT CHECK (batch_id >= 1),
  processed_at DATETIME(6) NOT NULL,
  PRIMARY KEY (flow, batch_id)
);
{% for table in flow.tables %}

-- {{ table.about | comment }}
{% for statement in table.statements %}
{{ statement }};
{% endfor %}
{% endfor %}
{% for index in flow.indexes %}

SET @qetl_missing = (SELECT COUNT(*) = 0 FROM information_schema.statistics WHERE table_schema = DATABASE() AND index_name = {{ index.name | literal }});
SET @qetl_statement = IF(@qetl_missing, {{ index.statement | replace("\\", "\\\\") | literal }}, 'DO 0');
PREPARE qetl_statement FROM @qetl_statement;
EXECUTE qetl_statement;
DROP PREPARE qetl_statement;
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

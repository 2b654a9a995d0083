{{ part("sql/head", flow) -}}
--
-- Derives a batch whose rows were landed in {{ flow.landing.name }}, in one transaction:
--
--   mysql --init-command="SET @batch_id = 2" DATABASE < {{ flow.id }}/batch.sql
--
-- SET @processed_at = '2024-01-02 00:00:00' is the execution time to record, in UTC; else the one recorded before, else now.
-- SET @accept_guards = 1 lets the batch through its guards.
{% if flow.late == "again" %}
-- The last query lists the later batches: run the script for each of them, ascending, with @accept_guards = 1.
{% endif %}
{% for statement in flow.session %}
{{ statement }};
{% endfor %}
-- One run of the flow at a time.
SET @qetl_lock = GET_LOCK({{ ("qetl " ~ flow.id) | literal }}, 3600);
START TRANSACTION;
SET @accept_guards = COALESCE(@accept_guards, 0);
SET @previous_batch_id = (SELECT COALESCE(MAX(batch_id), 0) FROM {{ flow.batches }} WHERE flow = {{ flow.id | literal }} AND batch_id < @batch_id);
SET @processed_at = (
  SELECT COALESCE(CAST(@processed_at AS DATETIME(6)), MAX(processed_at), UTC_TIMESTAMP(6))
  FROM {{ flow.batches }} WHERE flow = {{ flow.id | literal }} AND batch_id = @batch_id
);

INSERT INTO {{ flow.batches }} (flow, batch_id, processed_at)
VALUES ({{ flow.id | literal }}, @batch_id, @processed_at)
ON DUPLICATE KEY UPDATE processed_at = @processed_at;
{% if flow.late == "refuse" %}

-- rule: batches come in order, as `late_batches` is `reject`
{{ part("sql/mysql/refuse_if", {"rule": "no later batch is derived already", "count": "SELECT COUNT(*) FROM " ~ flow.batches ~ " WHERE flow = " ~ (flow.id | literal) ~ " AND batch_id > @batch_id"}) }}
{%- endif %}
{% if flow.times_rise %}

-- rule: execution times rise with the batches
{% set count %}
SELECT
  COUNT(*)
FROM
  {{ flow.batches }} AS this
  JOIN {{ flow.batches }} AS other ON this.flow = other.flow
WHERE
  this.flow = {{ flow.id | literal }} AND this.batch_id = @batch_id
  AND ((other.batch_id < this.batch_id AND other.processed_at >= this.processed_at)
    OR (other.batch_id > this.batch_id AND other.processed_at <= this.processed_at))
{%- endset %}
{{ part("sql/mysql/refuse_if", {"rule": "execution times rise with the batches", "count": count}) }}
{%- endif %}
{% for check in flow.landed %}
{{ part("sql/mysql/judge", check) }}
{%- endfor %}
{% for task in flow.tasks %}

-- {{ task.target }}: {{ task.about | comment }}; {{ task.mode }}
{%- for check in task.before %}
{{ part("sql/mysql/judge", check) }}
{%- endfor %}
{% for statement in task.statements %}

{{ statement }};
{% endfor %}
{% for check in task.after %}
{{ part("sql/mysql/judge", check) }}
{%- endfor %}
{% endfor %}

COMMIT;
SET @qetl_lock = RELEASE_LOCK({{ ("qetl " ~ flow.id) | literal }});
SET @processed_at = NULL, @accept_guards = NULL;
{% if flow.late == "again" %}

SELECT batch_id AS batches_to_derive_again FROM {{ flow.batches }} WHERE flow = {{ flow.id | literal }} AND batch_id > @batch_id ORDER BY 1;
{% endif %}

{% raw %}{#{% endraw %} Made by `qetl generate --target dbt` from {{ file | comment }}; do not edit. #}
{% raw %}{{{% endraw %} config({{ config }}materialized="view") }}
SELECT
  {{ id | literal }} AS flow,
  xt_batch_id AS batch_id,
  ROW_NUMBER() OVER (PARTITION BY xt_batch_id ORDER BY xt_source_file) - 1 AS position,
  xt_source_file AS path
FROM
  (SELECT DISTINCT xt_batch_id, xt_source_file FROM {{ landing }}) AS landed

{% raw %}
{# Made by `qetl generate --target dbt`; do not edit. #}
{% test qetl_unique_together(model, columns) %}
SELECT
  {{ columns | join(", ") }}
FROM
  {{ model }}
GROUP BY
  {{ columns | join(", ") }}
HAVING
  COUNT(*) > 1
{% endtest %}
{% endraw %}

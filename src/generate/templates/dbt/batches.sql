{% raw %}{#{% endraw %} Made by `qetl generate --target dbt` from {{ file | comment }}; do not edit. #}
{% raw %}{{{% endraw %} config({{ config }}
  materialized="incremental",
  incremental_strategy="append",
  full_refresh=false,
{% raw %}
  pre_hook="{% if is_incremental() and var('processed_at', none) %}DELETE FROM {{ this }} WHERE batch_id = {{ qetl_batch_id() }}{% endif %}",
) }}
{% endraw %}
SELECT
  {{ id | literal }} AS flow,
  {{ "{{ qetl_batch_id() }}" }} AS batch_id,
  CAST('{% raw %}{{ var("processed_at", run_started_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")) }}{% endraw %}' AS {{ timestamp }}) AS processed_at
{% raw %}
{% if is_incremental() %}
WHERE
  NOT EXISTS (SELECT 1 FROM {{ this }} AS known WHERE known.batch_id = {{ qetl_batch_id() }})
{% endif %}
{% endraw %}

{% raw %}{#{% endraw %} Made by `qetl generate --target dbt` from {{ file | comment }}; do not edit. #}
{% raw %}{{{% endraw %} config({{ config }}
{%- if kind == "batch" %}

  materialized="incremental",
  incremental_strategy="append",
  full_refresh=false,
{% raw %}
  pre_hook="{% if is_incremental() %}DELETE FROM {{ this }} WHERE xt_batch_id = {{ qetl_batch_id() }}{% endif %}",
{% endraw %}
) }}
{% else %}
materialized="{{ kind }}") }}
{% endif %}
{% for table in earlier %}
{% raw %}{% set {% endraw %}{{ table.name }} %}
{{ table.query }}
{% raw %}{% endset %}
{% endraw %}
{% endfor %}
{{ query }}

{% raw %}
{# Made by `qetl generate --target dbt`; do not edit. #}
{# The batch of this run. #}
{% macro qetl_batch_id() %}{{ return(var("batch_id") | int) }}{% endmacro %}

{% macro qetl_refuse_no_batch() %}
  {%- if execute and flags.WHICH in ("build", "run") and qetl_batch_id() < 1 -%}
    {{ exceptions.raise_compiler_error("name the batch: --vars '{batch_id: N}', an integer from 1 on") }}
  {%- endif -%}
{% endmacro %}

{# The rows that a table of this flow has from earlier runs; before the first run there is no table, and `nothing` stands for it. #}
{% macro qetl_earlier(identifier, nothing) %}
  {%- set stored = adapter.get_relation(this.database, this.schema, identifier) if execute else none -%}
  {{- stored if stored else "(" ~ nothing ~ ")" -}}
{% endmacro %}

{# A flow's namespace is the name of a schema as it is. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
  {{ custom_schema_name | trim if custom_schema_name else target.schema }}
{%- endmacro %}
{% endraw %}

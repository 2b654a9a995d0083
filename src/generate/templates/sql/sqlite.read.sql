{% if it.scale is not none %}CASE WHEN {{ it.name }} <> '' THEN PRINTF('%.{{ it.scale }}f', {{ it.name }}) END
{%- elif it.is_integer %}CAST(NULLIF({{ it.name }}, '') AS INTEGER)
{%- elif it.is_float %}CAST(NULLIF({{ it.name }}, '') AS REAL)
{%- elif it.is_boolean %}NULLIF({{ it.name }}, '') = 'true'
{%- else %}NULLIF({{ it.name }}, '')
{%- endif -%}

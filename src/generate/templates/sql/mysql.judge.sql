
-- rule: {{ it.rule | comment }}; else {{ it.help | comment }}
{% set count %}
SELECT
  COUNT(*)
FROM
  (
{{ it.query }}
  ) AS found
{%- if it.broken or it.guard %}

WHERE
  {% if it.broken %}{{ it.broken }}{% endif %}{% if it.broken and it.guard %} AND {% endif %}{% if it.guard %}NOT {{ it.guard }}{% endif %}
{%- endif %}
{% endset %}
{{ part("sql/mysql/refuse_if", {"rule": it.short, "count": count}) -}}

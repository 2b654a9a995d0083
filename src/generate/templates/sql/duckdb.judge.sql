
-- rule: {{ it.rule | comment }}
SELECT
  ERROR({{ (it.message ~ "; " ~ it.help) | literal }})
FROM
  (
{{ it.query }}
  ) AS found
{% if it.broken or it.guard %}
WHERE
  {% if it.broken %}{{ it.broken }}{% endif %}{% if it.broken and it.guard %} AND {% endif %}{% if it.guard %}NOT {{ it.guard }}{% endif %}

{% endif %}
LIMIT
  1;

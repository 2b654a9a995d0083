{% raw %}{#{% endraw %} {{ rule | comment | replace("#}", "# }") }}; else {{ help | comment | replace("#}", "# }") }}. Made by `qetl generate --target dbt` from {{ file | comment }}; do not edit. #}
{% if guard %}
{% raw %}{{ config(enabled=not var("accept_guards", false)) }}
{% endraw %}
{% endif %}
SELECT
  *
FROM
  (
{{ query }}
  ) AS found
{% if broken %}
WHERE
  {{ broken }}
{% endif %}

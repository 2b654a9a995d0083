
-- rule: {{ it.rule | comment }}
{% set body %}
BEGIN
  IF EXISTS (
    SELECT 1 FROM (
{{ it.query }}
    ) AS found{% if it.broken %} WHERE {{ it.broken }}{% endif %}

  ){% if it.guard %} AND NOT {{ it.guard }}{% endif %} THEN
    RAISE EXCEPTION USING MESSAGE = {{ it.message | literal }}, HINT = {{ it.help | literal }};
  END IF;
END
{% endset %}
DO {{ body | tag }}
{{ body }}{{ body | tag }};

-- What {{ flow.file | comment }} reads, for {{ flow.dialect }}. Made by `qetl generate --target dbt`; do not edit.
{% if flow.schema %}

CREATE SCHEMA IF NOT EXISTS {{ flow.schema }};
{% endif %}

-- {{ flow.tables[0].about | comment }}
{{ flow.tables[0].statements[0] }};

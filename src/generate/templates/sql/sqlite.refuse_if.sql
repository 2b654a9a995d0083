DROP TABLE IF EXISTS temp.qetl_rule;
CREATE TEMPORARY TABLE qetl_rule (broken INTEGER CONSTRAINT "{{ it.rule | replace('"', "'") }}" CHECK (broken = 0));
INSERT INTO qetl_rule {{ it.count }};
DROP TABLE qetl_rule;

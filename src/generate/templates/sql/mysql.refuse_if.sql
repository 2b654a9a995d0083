DROP TEMPORARY TABLE IF EXISTS qetl_rule;
CREATE TEMPORARY TABLE qetl_rule (broken BIGINT, CONSTRAINT `{{ it.rule | replace("`", "'") }}` CHECK (broken = 0));
INSERT INTO qetl_rule {{ it.count }};
DROP TEMPORARY TABLE qetl_rule;

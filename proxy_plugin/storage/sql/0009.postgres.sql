-- Who listens on `proxy_plugin` is told in the transaction that makes something due now. A row that a replica claims is
-- no news: that replica goes on with it.
CREATE FUNCTION proxy_plugin_row() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    here DOUBLE PRECISION := extract(epoch FROM clock_timestamp());
    claimed BOOLEAN := FALSE;
BEGIN
    IF TG_ARGV[0] = 'part' THEN
        claimed := EXISTS (SELECT 1 FROM claims c WHERE c.kind = 'part' AND c.id = NEW.batch_id AND c.n = NEW.n
            AND c.until > here);
    ELSIF TG_ARGV[0] = 'batch' THEN
        claimed := EXISTS (SELECT 1 FROM claims c WHERE c.kind = 'batch' AND c.id = NEW.id AND c.until > here);
    END IF;
    IF NOT claimed THEN
        PERFORM pg_notify('proxy_plugin', 'rows');
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER parts_wake AFTER INSERT OR UPDATE OF due_at ON parts FOR EACH ROW
    WHEN (NEW.due_at <= extract(epoch FROM clock_timestamp())) EXECUTE FUNCTION proxy_plugin_row('part');
CREATE TRIGGER batches_wake AFTER INSERT OR UPDATE OF due_at ON batches FOR EACH ROW
    WHEN (NEW.due_at <= extract(epoch FROM clock_timestamp())) EXECUTE FUNCTION proxy_plugin_row('batch');
CREATE TRIGGER files_wake AFTER INSERT OR UPDATE OF due_at ON files FOR EACH ROW
    WHEN (NEW.due_at <= extract(epoch FROM clock_timestamp())) EXECUTE FUNCTION proxy_plugin_row('file');

CREATE FUNCTION proxy_plugin_told() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('proxy_plugin', TG_ARGV[0]);
    RETURN NULL;
END $$;

CREATE TRIGGER webhook_deliveries_wake AFTER INSERT OR UPDATE OF due_at ON webhook_deliveries FOR EACH ROW
    WHEN (NEW.due_at <= extract(epoch FROM clock_timestamp())) EXECUTE FUNCTION proxy_plugin_told('webhooks');
CREATE TRIGGER charges_wake AFTER UPDATE OF due_at ON charges FOR EACH ROW
    WHEN (NEW.due_at <= extract(epoch FROM clock_timestamp())) EXECUTE FUNCTION proxy_plugin_told('reports');

CREATE FUNCTION proxy_plugin_hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('proxy_plugin', 'hold ' || NEW.account || ' ' || NEW.until);
    RETURN NULL;
END $$;

CREATE TRIGGER holds_told AFTER INSERT OR UPDATE ON holds FOR EACH ROW EXECUTE FUNCTION proxy_plugin_hold();

-- What SQLite calls so. No text can hold U+0000, which JSON can name.
CREATE FUNCTION json_each(document TEXT, OUT value TEXT) RETURNS SETOF TEXT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN json_array_elements_text(replace(document, '\u0000', '\ufffd')::json);
CREATE FUNCTION json_each(document TEXT, path TEXT, OUT value TEXT) RETURNS SETOF TEXT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN json_array_elements_text(replace(document, '\u0000', '\ufffd')::json -> substr(path, 3));
CREATE FUNCTION json_extract(document TEXT, path TEXT) RETURNS TEXT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN replace(document, '\u0000', '\ufffd')::json ->> substr(path, 3);

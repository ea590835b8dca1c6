-- What visitors do, as the site's own JSON.
CREATE TABLE page_events (
  id       bigserial PRIMARY KEY,
  at       timestamptz NOT NULL DEFAULT now(),
  payload  jsonb NOT NULL
);
ALTER TABLE page_events REPLICA IDENTITY FULL;

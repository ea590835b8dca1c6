-- The demo's tables. Safe to run again: the native stack runs it at every start.
SET client_min_messages = warning;

CREATE EXTENSION IF NOT EXISTS "uuid-ossp";

CREATE TABLE IF NOT EXISTS content (
  id             uuid PRIMARY KEY DEFAULT uuid_generate_v4(),
  slug           text UNIQUE NOT NULL,
  title          text NOT NULL,
  content_type   text NOT NULL CHECK (content_type IN ('podcast', 'newsletter', 'video')),
  length_seconds int,                       -- unknown for some
  publish_ts     timestamptz NOT NULL
);

CREATE TABLE IF NOT EXISTS engagement_events (
  id          bigserial PRIMARY KEY,
  content_id  uuid REFERENCES content (id),
  user_id     uuid,
  event_type  text NOT NULL CHECK (event_type IN ('play', 'pause', 'finish', 'click')),
  event_ts    timestamptz NOT NULL DEFAULT now(),
  duration_ms int,                          -- none for a click
  device      text,
  raw_payload jsonb
);

-- Updates and deletes carry the whole old row: what it had added to a ranking can be withdrawn.
ALTER TABLE content REPLICA IDENTITY FULL;
ALTER TABLE engagement_events REPLICA IDENTITY FULL;

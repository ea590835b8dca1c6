CREATE TYPE order_status AS ENUM ('open', 'paid', 'cancelled');

CREATE TABLE customers (
  id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name    text NOT NULL,
  country char(2) NOT NULL CHECK (country = upper(country))
);

CREATE TABLE orders (
  id          bigserial PRIMARY KEY,
  customer_id bigint REFERENCES customers (id) ON DELETE SET NULL,
  status      order_status NOT NULL DEFAULT 'open',
  quantity    integer NOT NULL,
  price       numeric(10, 2) NOT NULL,
  discount    numeric(10, 2) NOT NULL DEFAULT 0,
  placed_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON orders (placed_at);

ALTER TABLE orders REPLICA IDENTITY FULL;

\set source random(1, 10000)
\set destination random(1, 10000)
\if :source = :destination
\set destination :source % 10000 + 1
\endif
\set first least(:source, :destination)
\set second greatest(:source, :destination)
BEGIN;
INSERT INTO textbook.transfers (from_account_id, to_account_id, amount) VALUES (:source, :destination, 1) RETURNING *;
INSERT INTO textbook.entries (account_id, amount) VALUES (:source, -1) RETURNING *;
INSERT INTO textbook.entries (account_id, amount) VALUES (:destination, 1) RETURNING *;
UPDATE textbook.accounts SET balance = balance - 1 WHERE id = :first RETURNING *;
UPDATE textbook.accounts SET balance = balance + 1 WHERE id = :second RETURNING *;
COMMIT;

-- name: ListCurrencies :many
SELECT * FROM currencies ORDER BY currency_code;

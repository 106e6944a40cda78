# GitHub Actions proves who it is by a token of its own; no key of AWS is kept there. Who may do
# what is said by the trust policy of each environment's role.
resource "aws_iam_openid_connect_provider" "github" {
  url            = "https://token.actions.githubusercontent.com"
  client_id_list = ["sts.amazonaws.com"]
}

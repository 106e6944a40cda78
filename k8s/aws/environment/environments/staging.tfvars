environment = "staging"
region      = "eu-central-1"
zones       = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
domain      = "staging.example.com"

admin_role_arns   = ["arn:aws:iam::111122223333:role/administrator"]
api_allowed_cidrs = ["0.0.0.0/0"]

github = {
  organization    = "example"
  organization_id = 1
  repository      = "transactions-api"
  repository_id   = 1
}

# Small: one NAT gateway, one of everything, nodes that may be taken away.
node_instance_types      = ["t4g.large", "m6g.large", "m7g.large"]
node_capacity_type       = "SPOT"
node_count               = 3
database_max_connections = 240

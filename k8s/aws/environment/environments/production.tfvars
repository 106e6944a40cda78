environment = "production"
region      = "eu-central-1"
zones       = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
domain      = "api.example.com"

admin_role_arns   = ["arn:aws:iam::111122223333:role/administrator"]
api_allowed_cidrs = ["0.0.0.0/0"]

github = {
  organization    = "example"
  organization_id = 1
  repository      = "transactions-api"
  repository_id   = 1
}

# The loss of a zone is survived, and no transfer that was answered is lost with it.
nat_gateways             = 3
node_instance_types      = ["m7g.xlarge"]
node_count               = 3
database_instance_class  = "db.m7g.large"
database_storage_gib     = 100
database_multi_az        = true
database_max_connections = 440
database_backup_days     = 35
cache_node_type          = "cache.t4g.small"
cache_nodes              = 2
log_retention_days       = 365

# Valkey: the queue of jobs, and nothing that must survive. Whatever it loses is queued again from
# the database.

resource "aws_elasticache_subnet_group" "this" {
  name        = local.name
  description = "Data subnets of ${local.name}"
  subnet_ids  = [for subnet in aws_subnet.data : subnet.id]
}

resource "aws_security_group" "cache" {
  name        = "${local.name}-cache"
  description = "Valkey, for pods"
  vpc_id      = aws_vpc.this.id
}

resource "aws_vpc_security_group_ingress_rule" "cache" {
  security_group_id            = aws_security_group.cache.id
  description                  = "Valkey from nodes and pods"
  referenced_security_group_id = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 6379
  to_port                      = 6379
}

resource "aws_elasticache_parameter_group" "this" {
  name        = "${local.name}-valkey8"
  family      = "valkey8"
  description = "Valkey of ${local.name}"

  # A queue that is full must say so rather than forget jobs.
  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }
}

resource "aws_elasticache_replication_group" "this" {
  replication_group_id       = local.name
  description                = "Queue of jobs of ${local.name}"
  engine                     = "valkey"
  engine_version             = "8.1"
  node_type                  = var.cache_node_type
  num_cache_clusters         = var.cache_nodes
  automatic_failover_enabled = var.cache_nodes > 1
  multi_az_enabled           = var.cache_nodes > 1

  subnet_group_name    = aws_elasticache_subnet_group.this.name
  security_group_ids   = [aws_security_group.cache.id]
  parameter_group_name = aws_elasticache_parameter_group.this.name

  transit_encryption_enabled = true
  transit_encryption_mode    = "required"
  at_rest_encryption_enabled = true
  kms_key_id                 = aws_kms_key.this.arn
  auto_minor_version_upgrade = true
  maintenance_window         = "sun:04:30-sun:05:30"
  apply_immediately          = true

  # The token is set by a command, see docs/eks.md: here it would stand in the state.
  lifecycle {
    ignore_changes = [auth_token, auth_token_update_strategy]
  }
}

# What the overlay and the runbook need; none of it is secret.

output "cluster_name" {
  description = "Name of the cluster, for aws eks update-kubeconfig."
  value       = aws_eks_cluster.this.name
}

output "vpc_id" {
  description = "Id of the VPC, for the AWS Load Balancer Controller."
  value       = aws_vpc.this.id
}

output "public_cidr" {
  description = "Addresses of the load balancer, for the network policies."
  value       = cidrsubnet(var.network_cidr, 6, 0)
}

output "data_cidr" {
  description = "Addresses of database and cache, for the network policies."
  value       = cidrsubnet(var.network_cidr, 6, 1)
}

output "database_host" {
  description = "Name of the PostgreSQL server."
  value       = aws_db_instance.this.address
}

output "owner_secret" {
  description = "ARN of the entry of Secrets Manager with the password of the schema's owner."
  value       = aws_db_instance.this.master_user_secret[0].secret_arn
}

output "cache_host" {
  description = "Name of the Valkey server."
  value       = aws_elasticache_replication_group.this.primary_endpoint_address
}

output "cache_id" {
  description = "Id of the replication group, to set its token."
  value       = aws_elasticache_replication_group.this.replication_group_id
}

output "service_secret" {
  description = "Entry of Secrets Manager to fill."
  value       = aws_secretsmanager_secret.service.name
}

output "deployer_role_arn" {
  description = "Role that GitHub Actions assumes in this environment."
  value       = aws_iam_role.deployer.arn
}

output "name_servers" {
  description = "Name servers to enter at the parent domain."
  value       = aws_route53_zone.this.name_servers
}

output "hosted_zone_id" {
  description = "Id of the hosted zone, for the certificate issuer."
  value       = aws_route53_zone.this.zone_id
}

output "addon_versions" {
  description = "Versions of the add-ons as installed, to be pinned in addon_versions."
  value = {
    for name, addon in merge(aws_eks_addon.before_nodes, aws_eks_addon.after_nodes) : name => addon.addon_version
  }
}

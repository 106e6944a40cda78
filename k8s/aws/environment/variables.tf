variable "environment" {
  description = "Name of the environment; part of every name."
  type        = string

  validation {
    condition     = contains(["staging", "production"], var.environment)
    error_message = "There is an overlay for staging and for production only."
  }
}

variable "region" {
  description = "AWS region."
  type        = string
}

variable "zones" {
  description = "Three availability zones of the region; named, so that a new zone of AWS changes nothing here."
  type        = list(string)

  validation {
    condition     = length(var.zones) == 3
    error_message = "Exactly three."
  }
}

variable "domain" {
  description = "Domain of the hosted zone that is made here, like api.example.com; its parent must delegate to it."
  type        = string
}

variable "network_cidr" {
  description = "Private addresses of the VPC; a /16. Another one changes the ranges in the overlay too."
  type        = string
  default     = "10.20.0.0/16"
}

variable "nat_gateways" {
  description = "How many NAT gateways: 1 is cheap and one zone's failure cuts off egress, 3 survives it."
  type        = number
  default     = 1

  validation {
    condition     = contains([1, 3], var.nat_gateways)
    error_message = "Either one for all zones, or one for each of the three."
  }
}

variable "interface_endpoints" {
  description = "AWS services reached without the NAT gateway, like ecr.dkr; each is billed by hour and zone."
  type        = set(string)
  default     = []
}

variable "kubernetes_version" {
  description = "Kubernetes minor version of the cluster and its nodes."
  type        = string
  default     = "1.36"
}

variable "api_allowed_cidrs" {
  description = "Who may reach the public address of the Kubernetes API; runners hosted by GitHub need 0.0.0.0/0, IAM still decides."
  type        = list(string)
}

variable "admin_role_arns" {
  description = "IAM roles of people who administer the cluster; without one nobody can."
  type        = set(string)

  validation {
    condition     = length(var.admin_role_arns) > 0
    error_message = "Name at least one role, or nobody can use the cluster."
  }
}

variable "addon_versions" {
  description = "Version of each EKS add-on; what is not named here gets the default of the Kubernetes version."
  type        = map(string)
  default     = {}
}

variable "node_instance_types" {
  description = "Graviton instance types of the nodes."
  type        = list(string)
  default     = ["t4g.large"]
}

variable "node_capacity_type" {
  description = "ON_DEMAND, or SPOT: cheaper, and a node may leave at two minutes' notice."
  type        = string
  default     = "ON_DEMAND"

  validation {
    condition     = contains(["ON_DEMAND", "SPOT"], var.node_capacity_type)
    error_message = "ON_DEMAND or SPOT."
  }
}

variable "node_count" {
  description = "How many nodes; nothing adds nodes by itself, so all replicas of the overlay must fit."
  type        = number
  default     = 3
}

variable "database_instance_class" {
  description = "Instance class of PostgreSQL."
  type        = string
  default     = "db.t4g.medium"
}

variable "database_storage_gib" {
  description = "Storage at first, in GiB; it grows by itself up to four times that."
  type        = number
  default     = 20
}

variable "database_max_connections" {
  description = "max_connections of PostgreSQL; docs/eks.md says what the service opens at most."
  type        = number
}

variable "database_multi_az" {
  description = "Whether a synchronous standby in another zone takes over when the first fails."
  type        = bool
  default     = false
}

variable "database_backup_days" {
  description = "How far back the database can be restored to any second, in days."
  type        = number
  default     = 7

  validation {
    condition     = var.database_backup_days >= 7 && var.database_backup_days <= 35
    error_message = "7 to 35 days."
  }
}

variable "cache_node_type" {
  description = "Node type of Valkey, the queue of jobs."
  type        = string
  default     = "cache.t4g.micro"
}

variable "cache_nodes" {
  description = "1, or 2 for one that takes over; jobs that are lost with it are queued again from the database."
  type        = number
  default     = 1
}

variable "deletion_protection" {
  description = "Whether cluster and database refuse to be deleted, and a deleted database leaves a snapshot."
  type        = bool
  default     = true
}

variable "log_retention_days" {
  description = "How long logs of control plane, database and network are kept, in days."
  type        = number
  default     = 30
}

variable "github" {
  description = "The repository that deploys, with the numeric ids that make its name unforgeable after a rename."
  type = object({
    organization    = string
    organization_id = number
    repository      = string
    repository_id   = number
  })
}

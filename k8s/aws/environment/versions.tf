terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.25"
    }
  }

  # Bucket, key and region come from a file: terraform init -backend-config=...
  backend "s3" {
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = {
      application = "transactions"
      environment = var.environment
      managed-by  = "terraform"
    }
  }
}

locals {
  name = "transactions-${var.environment}"
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

output "registry" {
  description = "Where both images are kept; their names follow after a slash."
  value       = split("/", aws_ecr_repository.image["transactions-api"].repository_url)[0]
}

output "image_repositories" {
  description = "Address of each image repository, for the overlays."
  value       = { for name, repository in aws_ecr_repository.image : name => repository.repository_url }
}

variable "region" {
  description = "AWS region of the image repositories."
  type        = string
}

# The zone of the public name. Its name servers, an output, must be entered at the parent domain.
resource "aws_route53_zone" "this" {
  name = var.domain
}

# Nobody but Let's Encrypt may issue certificates for the name.
resource "aws_route53_record" "certificate_authority" {
  zone_id = aws_route53_zone.this.zone_id
  name    = var.domain
  type    = "CAA"
  ttl     = 3600
  records = ["0 issue \"letsencrypt.org\"", "0 issuewild \";\""]
}

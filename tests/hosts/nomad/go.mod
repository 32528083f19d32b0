module lamplighter/tests/hosts/nomad

go 1.24

require github.com/hashicorp/nomad v1.10.0

require github.com/hashicorp/nomad/api v0.0.0-20250410143434-48f304d0cab3

replace (
	github.com/Microsoft/go-winio => github.com/endocrimes/go-winio v0.4.13-0.20190628114223-fb47a8b41948
	github.com/hashicorp/hcl => github.com/hashicorp/hcl v1.0.1-0.20201016140508-a07e7d50bbee
)

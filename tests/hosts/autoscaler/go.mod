module lamplighter/tests/hosts/autoscaler

go 1.24

require github.com/hashicorp/nomad-autoscaler v0.4.6

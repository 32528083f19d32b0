variable "agents" {
  type = string
}

job "autoscaler" {
  group "autoscaler" {
    task "autoscaler" {
      # No file of ours: what is wrong with it, its own program says.
      template {
        destination = "local/vault.hcl"
        data        = "listener {"
      }

      template {
        destination = "local/other.conf"
        data        = <<EOT
not = {{ HCL
EOT
      }

      template {
        destination = "local/autoscaler.hcl"
        data        = <<-EOT
          http {
            bind_port = {{ env "NOMAD_PORT_http" }}
          }

          target "lamplighter" {
            driver = "lamplighter"
            args   = ["target"]
            config = {
              agents           = "${var.agents}"
              nomad_token_file = "{{ env "NOMAD_SECRETS_DIR" }}/nomad_token"
              metrcs           = "127.0.0.1:9465"
            }
          }
        EOT
      }

      template {
        destination = "local/policies/rack.hcl"
        data        = <<-EOT
          scaling "rack" {
            enabled = true
            {{- if eq (env "meta.site") "lab" }}
            max = 4
            {{- else }}
            max = 40
            {{- end }}

            policy {
              cooldown            = "{{ key "rack/cooldown" }}"
              evaluation_interval = "10x"

              check "waiting" {
                source = "lamplighter"
                query  = "pending rack"
                strategy "pass-through" {}
              }

              target "lamplighter" {
                pool  = "{{ key "rack/pool" }}"
                min_n = "5m"
              }
            }
          }
        EOT
      }

      template {
        destination = "local/rack.toml"
        data        = <<-EOT
          [devices.board]
          driver = "lcus"
          [machines.node1]
        EOT
      }

      template {
        destination = "local/policies/shelf.hcl"
        data        = <<-EOT
          scaling "shelf" {
            enabled = true
            max     =
          }
        EOT
      }

      template {
        destination = "local/policies/bench.hcl"
        data        = <<-EOT
          {{ range ls "bench" }}scaling "{{ .Key }}" { {{ .Value }} }{{ end }}
        EOT
      }
    }
  }
}

# The Nomad Autoscaler with the plugin, where an agent's socket is:
#   nomad job run -var policies=/etc/lamplighter/policies jobs/autoscaler.nomad.hcl
#
# With ACLs on, its identity in Nomad is its token, once it has its policies:
#   nomad acl policy apply -namespace default -job autoscaler lamplighter-autoscaler examples/acl/autoscaler.hcl
#   nomad acl policy apply -namespace default -job autoscaler lamplighter-plugin examples/acl/plugin.hcl

variable "binary" {
  type    = string
  default = "/usr/local/bin/nomad-autoscaler"
}

# A folder of the host with the binary `lamplighter` in it.
variable "plugins" {
  type    = string
  default = "/usr/local/lib/nomad-autoscaler/plugins"
}

# A folder of the host with the policies' files.
variable "policies" {
  type    = string
  default = "/etc/lamplighter/policies"
}

variable "agents" {
  type    = string
  default = "unix:/run/lamplighter/agent.sock"
}

job "autoscaler" {
  type = "service"

  # The plugin never takes the machine that it runs on: better one that is on anyway.
  constraint {
    attribute = "${meta.rack_controller}"
    value     = "true"
  }

  group "autoscaler" {
    network {
      port "http" {}
    }

    restart {
      attempts = 10
      interval = "10m"
      delay    = "2s"
      mode     = "delay"
    }

    task "autoscaler" {
      driver = "raw_exec"

      config {
        command = var.binary
        args    = ["agent", "-config", "${NOMAD_TASK_DIR}/autoscaler.hcl"]
      }

      # The lease of each pool is given back.
      kill_signal  = "SIGTERM"
      kill_timeout = "30s"

      identity {
        env  = true
        file = true
      }

      template {
        destination = "${NOMAD_TASK_DIR}/autoscaler.hcl"
        data        = <<-EOT
          plugin_dir = "${var.plugins}"

          http {
            bind_address = "127.0.0.1"
            bind_port    = {{ env "NOMAD_PORT_http" }}
          }

          nomad {
            address = "unix://{{ env "NOMAD_SECRETS_DIR" }}/api.sock"
          }

          policy {
            dir = "${var.policies}"
          }

          target "lamplighter" {
            driver = "lamplighter"
            args   = ["target"]
            config = {
              agents           = "${var.agents}"
              nomad_token_file = "{{ env "NOMAD_SECRETS_DIR" }}/nomad_token"
            }
          }

          apm "lamplighter" {
            driver = "lamplighter"
            args   = ["apm"]
            config = {
              agents           = "${var.agents}"
              nomad_token_file = "{{ env "NOMAD_SECRETS_DIR" }}/nomad_token"
            }
          }
        EOT
      }

      resources {
        cpu    = 100
        memory = 128
      }
    }
  }
}

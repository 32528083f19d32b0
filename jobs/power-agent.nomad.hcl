# The agent on every rack controller:
#   nomad job run -var rack_file=/etc/lamplighter/rack.toml jobs/power-agent.nomad.hcl
#
# A controller is a Nomad client beside the boards, and none of the machines that they switch. It says so in
# its client's configuration, `meta { rack_controller = "true" }`, and allows raw_exec.

variable "binary" {
  type    = string
  default = "/usr/local/bin/power-agent"
}

# Its `state` and `socket` are paths of the host: what lies in an allocation's folder is gone with the
# allocation, and with it holds, fences, and what was half done.
variable "rack_file" {
  type    = string
  default = "/etc/lamplighter/rack.toml"
}

job "power-agent" {
  type = "system"

  constraint {
    attribute = "${meta.rack_controller}"
    value     = "true"
  }

  group "agent" {
    # Nobody else moves these relays, so it is started again for ever.
    restart {
      attempts = 10
      interval = "10m"
      delay    = "2s"
      mode     = "delay"
    }

    task "agent" {
      # It needs the host's devices, and outlives nothing that it starts.
      driver = "raw_exec"

      config {
        command = var.binary
        args    = ["serve", "--config", var.rack_file]
      }

      # It ends once no outlet is on its way: a move takes at most a minute.
      kill_signal  = "SIGTERM"
      kill_timeout = "90s"

      resources {
        cpu    = 100
        memory = 64
      }
    }
  }
}

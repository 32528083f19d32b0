# Work to try a rack with: each instance takes most of one machine, and ends by itself.
#   nomad job run jobs/load.nomad.hcl
#   nomad job run -var count=1 -var seconds=60 -var node_class=closet jobs/load.nomad.hcl

variable "count" {
  type    = number
  default = 2
}

variable "seconds" {
  type    = number
  default = 120
}

# What one instance asks for: above half of a machine's shape, so that two do not fit on one.
variable "cpu" {
  type    = number
  default = 4000
}

variable "memory" {
  type    = number
  default = 500
}

# The machines' class, so that it is not placed on the controller.
variable "node_class" {
  type    = string
  default = "rack"
}

job "load" {
  type = "batch"

  constraint {
    attribute = "${node.class}"
    value     = var.node_class
  }

  group "load" {
    count = var.count

    task "load" {
      # The machines' clients allow it: `plugin "raw_exec" { config { enabled = true } }`.
      driver = "raw_exec"

      config {
        command = "/bin/sleep"
        args    = ["${var.seconds}"]
      }

      resources {
        cpu    = var.cpu
        memory = var.memory
      }
    }
  }
}

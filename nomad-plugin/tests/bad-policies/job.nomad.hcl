variable "pool" {
  type = string
}

job "web" {
  group "front" {
    scaling {
      max = 4

      policy {
        check "waiting" {
          source = "lamplighter"
          query  = "pending ${var.pool}"
          strategy "pass-through" {}
        }

        target "lamplighter" {
          pool       = var.pool
          while_strating = "wait"
        }
      }
    }
  }
}

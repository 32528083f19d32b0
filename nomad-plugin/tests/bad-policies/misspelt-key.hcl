scaling "rack" {
  enabled = true
  min     = 0
  max     = 4

  policy {
    cooldown            = "1m"
    evaluation_interval = "10s"

    check "waiting" {
      source = "lamplighter"
      query  = "pending rack"
      strategy "pass-through" {}
    }

    target "lamplighter" {
      pool      = "rack"
      idel_time = "10m"
    }
  }
}

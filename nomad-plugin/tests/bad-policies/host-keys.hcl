scaling "rack" {
  
  min     = 0
  

  policy {
    cooldwn            = "1m"
    evaluation_interval = "10s"

    check "waiting" {
      source = "lamplighter"
      query  = "pending rack"
      strategy "pass-through" {}
    }

    target "lamplighter" {
      pool = "rack"
    }
  }
}

# The part of the Nomad Autoscaler's configuration that starts the plugin.

apm "lamplighter" {
  driver = "lamplighter"
  args   = ["apm"]
  config = { agents = "unix:/run/lamplighter/agent.sock" }
}

target "lamplighter" {
  driver = "lamplighter"
  args   = ["target"]
  config = {
    agents  = "unix:/run/lamplighter/agent.sock"
    metrics = "127.0.0.1:9465"
  }
}

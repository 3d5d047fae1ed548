"""Object storage: folders of objects, copies of them on this machine, and the writer's lease."""

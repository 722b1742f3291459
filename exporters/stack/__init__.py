"""Starting, watching and stopping the parts: in Docker Compose where an engine answers, else as processes."""

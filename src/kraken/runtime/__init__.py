"""The world that components run in: clock, threads, tasks, HTTP, signals. Engines know none of it."""

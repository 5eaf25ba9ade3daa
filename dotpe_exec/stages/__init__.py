"""The phases of the method: what each needs, its tasks, and how their results reduce."""

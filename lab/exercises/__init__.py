"""Exercises for students: a task, hints, and a check that is a query on the student's own run."""

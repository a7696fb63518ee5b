"""What people say of rows: sheets to mark, their verdicts, how far rules and judge agree."""

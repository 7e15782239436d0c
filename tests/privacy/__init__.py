"""What nobody may find outside of the mail itself."""

"Commands to type: owner, user, cloud, study, notebooks."
